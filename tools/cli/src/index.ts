export { type ApiClient, apiClient, type Door } from "./client.ts"
export { DoorFile, doorFileName } from "./door.ts"
export { cutText, followStory, type FollowOptions, storyText } from "./story.ts"
