export { cancel, ls, outputOf, show, story } from "./jobs.ts"
export { submit } from "./submit.ts"
