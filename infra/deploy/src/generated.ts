import { stringify } from "yaml"
import { composeFile } from "./compose.ts"
import { dockerfile, dockerignore } from "./images.ts"
import { kubernetesObjects, kustomization } from "./kubernetes.ts"
import { readVersions } from "./versions.ts"

const written = '# Written by infra/deploy; run "npm run deploy" instead of editing it.\n'
const yaml = (value: unknown): string => stringify(value, { lineWidth: 0, aliasDuplicateObjects: false })

/** Every generated file, by its name. */
export const generated = () => {
  const versions = readVersions()
  return {
    Dockerfile: dockerfile(versions),
    "Dockerfile.dockerignore": dockerignore,
    "compose.yaml": written + yaml(composeFile(versions)),
    "kubernetes.yaml": written + kubernetesObjects(versions).map(yaml).join("---\n"),
    "kustomization.yaml": written + yaml(kustomization)
  } as const
}
export type GeneratedName = keyof ReturnType<typeof generated>

/** Where they lie in the repository. */
export const generatedFolder = new URL("../generated/", import.meta.url)
