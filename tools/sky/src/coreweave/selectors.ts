import type { Thing } from "./objects.ts"

type Holds = (labels: Readonly<Record<string, string>>) => boolean

/** A label selector as the API takes it in a query: equality, sets, and whether there is one. Undefined: it is malformed. */
export const labelSelector = (text: string): Holds | undefined => {
  const parts = text.split(/,(?![^(]*\))/u).filter((part) => part.trim() !== "").map(requirement)
  return parts.every((part) => part !== undefined) ? (labels) => parts.every((holds) => holds!(labels)) : undefined
}

const requirement = (text: string): Holds | undefined => {
  const part = text.trim()
  const set = /^([\w./-]+)\s+(in|notin)\s+\(([^)]*)\)$/u.exec(part)
  if (set !== null) {
    const [, key = "", word, list = ""] = set
    const among = list.split(",").map((value) => value.trim())
    return (labels) => among.includes(labels[key] ?? "\u0000") === (word === "in")
  }
  const equal = /^([\w./-]+)\s*(==|=|!=)\s*([\w.-]*)$/u.exec(part)
  if (equal !== null) {
    const [, key = "", sign, value] = equal
    return (labels) => (labels[key] === value) === (sign !== "!=")
  }
  const there = /^(!?)([\w./-]+)$/u.exec(part)
  return there === null ? undefined : (labels) => (labels[there[2] ?? ""] !== undefined) === (there[1] === "")
}

/** A field selector over what every kind can be chosen by. Undefined: the API has no such field to choose by. */
export const fieldSelector = (text: string): ((thing: Thing) => boolean) | undefined => {
  const parts = text.split(",").filter((part) => part !== "").map((part) => /^(metadata\.name|metadata\.namespace)(=|==|!=)(.*)$/u.exec(part))
  return parts.every((part) => part !== null)
    ? (thing) => parts.every((part) => ((part![1] === "metadata.name" ? thing.metadata.name : thing.metadata.namespace) === part![3]) === (part![2] !== "!="))
    : undefined
}
