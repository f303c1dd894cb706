/** One kind of GPU, however its seller writes it: PCIe, NVL and SXM cards of one family are different goods. */
export interface GpuKind {
  /** "H100". */
  readonly family: string
  /** "PCIE" or "NVL" where the seller says so; nothing for SXM and for whoever keeps silent. */
  readonly form: string
  /** Memory of one, in GiB, as the maker prints it; undefined where neither name nor seller tells. */
  readonly memoryGib: number | undefined
}

/** What one GPU of a family holds by its maker's word, in GiB. Sellers print a little less, or count differently. */
const printed: ReadonlyArray<number> = [4, 5, 6, 8, 10, 11, 12, 16, 20, 24, 32, 40, 48, 64, 80, 94, 96, 128, 141, 144, 180, 192, 256, 268, 288]

/** The nearest printed size within a tenth: 45 is 48, 140 is 141, 179 is 180. */
const sizeOf = (memoryGib: number): number => {
  const nearest = printed.reduce((best, size) => (Math.abs(size - memoryGib) < Math.abs(best - memoryGib) ? size : best))
  return Math.abs(nearest - memoryGib) <= nearest * 0.1 ? nearest : Math.round(memoryGib)
}

/** Where a family's memory is in nobody's name, because there is one size alone. */
const onlySize: Readonly<Record<string, number>> = {
  A10: 24, A10G: 24, A16: 16, A30: 24, A40: 48, A4000: 16, A5000: 24, A6000: 48, B200: 180, B300: 288, GB200: 192, GB300: 288, GH200: 96, H200: 141, L4: 24, L40: 48, L40S: 48,
  M60: 8, MI300X: 192, MI325X: 256, MI355X: 288, P100: 16, RTX3090: 24, RTX4090: 24, RTX5090: 32, RTX6000ADA: 48, RTXPRO6000: 96, T4: 16, T4G: 16
}

/** Names under which one card is sold, both as they stand after the separators are gone. */
const alsoCalled: Readonly<Record<string, string>> = {
  RTXA4000: "A4000", RTXA5000: "A5000", RTXA6000: "A6000", QUADRORTX4000: "RTX4000", QUADRORTX5000: "RTX5000", QUADRORTX6000: "RTX6000",
  "6000ADA": "RTX6000ADA", RTX6000ADAGENERATION: "RTX6000ADA", TESLAV100: "V100", TESLAT4: "T4", TESLAP100: "P100"
}

const unknown: GpuKind = { family: "", form: "", memoryGib: undefined }

/**
 * Reads a GPU's name as sellers and jobs write it: "H100", "NVIDIA H100 80GB HBM3", "A100-80GB-PCIe", "h100_sxm". The seller's own figure for
 * one GPU's memory, in GiB, goes before what the name says. Never fails: an unknown name is a family of its own.
 */
export const gpuKind = (name: string, memoryGib?: number): GpuKind => {
  const known = seen.get(name)
  const read = known ?? readName(name)
  if (known === undefined && seen.size < 10_000) seen.set(name, read)
  const given = memoryGib !== undefined && memoryGib > 0 ? memoryGib : read.memoryGib
  return { ...read, memoryGib: given === undefined ? onlySize[read.family] : sizeOf(given) }
}

const seen = new Map<string, GpuKind>()

const readName = (name: string): GpuKind => {
  const text = name.toUpperCase().replaceAll(/NVIDIA|AMD|INSTINCT|GEFORCE|TENSOR CORE|GENERATION/gu, " ")
  const memory = /(?:^|[^0-9])(\d{1,3})\s?G(?:I?B)?(?![A-Z0-9])/u.exec(text)
  const form = /NVL(?!INK)/u.test(text) ? "NVL" : /PCI-?E/u.test(text) ? "PCIE" : ""
  const family = text
    .replaceAll(/(?:^|(?<=[^0-9]))\d{1,3}\s?G(?:I?B)?(?![A-Z0-9])/gu, " ")
    .replaceAll(/\(.*?\)|NVL(?!INK)\d*|PCI-?E|SXM\d?|HBM\d?E?|NVLINK/gu, " ")
    .replaceAll(/[^A-Z0-9]/gu, "")
  if (family === "") return unknown
  return { family: alsoCalled[family] ?? family, form, memoryGib: memory === null ? undefined : Number(memory[1]) }
}

/** How we write a kind: "H100-80GB", "H100-PCIE-80GB". */
export const nameOf = ({ family, form, memoryGib }: GpuKind): string => [family, form, memoryGib === undefined ? "" : `${memoryGib}GB`].filter((part) => part !== "").join("-")

/**
 * Whether what is offered is what was asked for: the same family; the memory and the form where the asker named them. Who asks for "A100" takes
 * any A100, who asks for "A100-80GB" none with less.
 */
export const satisfies = (offered: GpuKind, asked: GpuKind): boolean =>
  asked.family === offered.family && asked.family !== "" &&
  (asked.form === "" || asked.form === offered.form) &&
  (asked.memoryGib === undefined || (offered.memoryGib !== undefined && offered.memoryGib >= asked.memoryGib))

/** A name as somebody asks for it: memory counts only where it is in the name, not where a family has one size. */
export const askedKind = (name: string): GpuKind => {
  const { form, memoryGib } = gpuKind(name)
  const read = readName(name)
  return { family: read.family, form, memoryGib: read.memoryGib === undefined ? undefined : memoryGib }
}
