import { priorityClasses } from "@millrace/schemas"
import { Flag } from "effect/cli"
import { read } from "./flags.ts"

/** A class by its name, or a number from 0 to 100. */
export const priorityOf = (text: string): number | undefined =>
  Object.hasOwn(priorityClasses, text) ? priorityClasses[text as keyof typeof priorityClasses] : /^([0-9]{1,2}|100)$/u.test(text) ? Number(text) : undefined

export const priorityFlag = (name: string, description: string) =>
  read(name, priorityOf, "low, normal, high, urgent or a number from 0 to 100").pipe(Flag.withMetavar("priority"), Flag.withDescription(description), Flag.optional)
