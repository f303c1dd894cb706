// Counts twin primes for a while, telling how far it is; started anew elsewhere it begins from the start.
const seconds = Number(process.argv[2] ?? 6)
const isPrime = (n) => {
  for (let d = 3; d * d <= n; d += 2) if (n % d === 0) return false
  return true
}
const sinceMs = Date.now()
let twins = 0
let n = 3
for (let said = 0; said < seconds; n += 2) {
  if (isPrime(n) && isPrime(n + 2)) twins += 1
  if (Date.now() - sinceMs >= (said + 1) * 1_000) {
    said += 1
    console.log(`second ${said} of ${seconds}: ${twins} pairs of twin primes below ${n}`)
  }
}
