export { type ApiClient, apiClient, type Door } from "./client.ts"
