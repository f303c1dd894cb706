export { AdmissionDecider, hostIdOf } from "./domain/admission.ts"
export { accessProcess } from "./process.ts"
export { Admissions, digestOfKey, renewalText } from "./reactors/admissions.ts"
export { type AccessOptions, AccessService, type OpenKey } from "./service.ts"
