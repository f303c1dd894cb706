import { gzipSync } from "node:zlib"

/** A start script may have so many characters. */
export const onstartMax = 4_048

/**
 * Applies the two parts of a cloud-config that we use. Our agent runs on node, so every image with it has node;
 * cloud-init is in no container. What is packed comes by standard input: arguments can be read by anyone there.
 */
const apply = [
  "const f=require('fs'),p=require('path'),s=require('child_process').spawnSync",
  "const t=require('zlib').gunzipSync(Buffer.from(f.readFileSync(0,'latin1'),'base64')).toString()",
  "const c=JSON.parse(t.slice(t.indexOf('\\n')))",
  "for(const w of c.write_files||[]){f.mkdirSync(p.dirname(w.path),{recursive:true});f.writeFileSync(w.path,w.content,{mode:0o600});f.chmodSync(w.path,parseInt(w.permissions||'0644',8))}",
  "for(const r of c.runcmd||[])typeof r=='string'?s(r,{shell:true,stdio:'inherit'}):s(r[0],r.slice(1),{stdio:'inherit'})"
].join(";")

/**
 * User data as a start script: this vendor takes shell, and little of it, where others take cloud-init's forms.
 * Undefined where the user data is not of the form that the script can apply, or is too long for the vendor.
 */
export const onstartOf = (userData: string): string | undefined => {
  if (!isPlain(userData)) return undefined
  const packed = gzipSync(userData, { level: 9 }).toString("base64")
  const script = `node -e "${apply}" <<'MILLRACE'\n${packed}\nMILLRACE\n`
  return script.length > onstartMax ? undefined : script
}

const applied = ["write_files", "runcmd"]

const isPlain = (userData: string): boolean => {
  const [head, ...rest] = userData.split("\n")
  try {
    const config: unknown = JSON.parse(rest.join("\n"))
    return head === "#cloud-config" && typeof config === "object" && config !== null && Object.keys(config).every((key) => applied.includes(key))
  } catch {
    return false
  }
}
