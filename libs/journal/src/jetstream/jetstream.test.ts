import { natsUnderTest } from "../testing/nats-under-test.ts"
import { journalKeepsItsPromises } from "../testing.ts"

// Of 100,000 appends in all, 70,000 are made in memory, 20,000 here and 10,000 on three servers.
journalKeepsItsPromises("the journal on one nats-server", natsUnderTest(1, 20_000))
