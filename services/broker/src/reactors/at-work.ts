import { Context } from "effect"
import type { Order } from "./order.ts"

/** The order of buying that this process holds now, for whoever asks it to do something; none while another broker holds it. */
export class AtWork extends Context.Service<AtWork, { order: Order | undefined }>()("millrace/broker/AtWork") {}
