/** How a provider's bill is read and held against ours, apart from any cloud: for whoever has a bill in a file. */
export { type Compared, type Kind, type Ours, reconcile, type Theirs } from "./domain/bill.ts"
export { billIn, BillMalformed } from "./domain/bill-file.ts"
