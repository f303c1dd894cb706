/** What a caller of the API needs. Nothing here starts anything, so that a short command stays short. */
export { inCausalOrder, sentence } from "../domain/story.ts"
export { JobRequest } from "../domain/request.ts"
export { Api, type JobView, type StoryLine, type TaskView } from "./api.ts"
export { Authentication } from "@millrace/service"
