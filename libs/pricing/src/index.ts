export { digestOfBook, noBooks, type PriceBooks, publish, rateChanges, type Rates, ratesAt } from "./books.ts"
export { type Estimate, estimate } from "./estimate.ts"
export { dollarsText, moneyText, picoOf, picoPerDollar } from "./money.ts"
export { gpuSku, type Held, priceLines, type Priced, type PriceLine, priceOf } from "./price.ts"
