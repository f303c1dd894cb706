import { gzipSync } from "node:zlib"

/** A start script may have so many characters. */
export const onstartMax = 4_048

/** Applies the two parts of a cloud-config that we use. Nothing of cloud-init is needed, so it works in containers too. */
const apply = `import json,os,subprocess,sys
c=json.loads(sys.stdin.read().split("\\n",1)[1])
for f in c.get("write_files",[]):
 os.makedirs(os.path.dirname(f["path"]),exist_ok=True)
 d=os.open(f["path"],os.O_WRONLY|os.O_CREAT|os.O_TRUNC,0o600)
 os.fchmod(d,int(f.get("permissions","0644"),8))
 os.write(d,f["content"].encode());os.close(d)
for r in c.get("runcmd",[]):subprocess.run(r,shell=isinstance(r,str))`

/**
 * User data as a start script: this vendor takes shell, and little of it, where others take cloud-init's forms.
 * Undefined where the user data is not of the form that the script can apply, or is too long for the vendor.
 */
export const onstartOf = (userData: string): string | undefined => {
  if (!isPlain(userData)) return undefined
  const packed = gzipSync(userData, { level: 9 }).toString("base64")
  const script = `echo ${packed}|base64 -d|gunzip|python3 -c '${apply}'`
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
