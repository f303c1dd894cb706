import type { Part } from "./parts.ts"
import type { Versions } from "./versions.ts"

/** How our own image runs a process: its entry point, and the account that it has where none is named. */
export const processImage = { node: "node", folder: "/millrace", uid: 10_001, gid: 10_001 } as const

/** A part's image, in one version. */
export const imageOf = ({ image }: Part, { millrace, nats, postgres }: Versions): string =>
  ({ millrace: `millrace:${millrace}`, nats: `nats:${nats}-alpine`, postgres: `postgres:${postgres}-bookworm` })[image]

/**
 * One image for all our processes; which of them a container is, its command says. It holds the source, which
 * Node runs as it is, and what it needs at run time: no compiler, no test, no key.
 */
export const dockerfile = ({ node }: Versions): string =>
  `# Written by infra/deploy; run "npm run deploy" instead of editing it.
# Built from the root of the repository: docker build -f infra/deploy/generated/Dockerfile -t millrace:VERSION .
FROM node:${node}-bookworm-slim AS dependencies
WORKDIR ${processImage.folder}
COPY . .
RUN npm ci --omit=dev --omit=optional --ignore-scripts

FROM node:${node}-bookworm-slim
ENV NODE_ENV=production
COPY --from=dependencies ${processImage.folder} ${processImage.folder}
WORKDIR ${processImage.folder}
USER ${processImage.uid}:${processImage.gid}
ENTRYPOINT ["${processImage.node}"]
`

/** What never enters the image, whatever lies in the checkout: keys and state of a cell least of all. */
export const dockerignore = `# Written by infra/deploy; run "npm run deploy" instead of editing it.
**
!package.json
!package-lock.json
!schemas
!libs
!services
!infra
!tools/*/package.json
!tests/package.json
**/node_modules
**/*.test.ts
**/keys
**/state
`
