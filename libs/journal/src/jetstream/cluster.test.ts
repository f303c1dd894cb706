import { natsUnderTest } from "../testing/nats-under-test.ts"
import { journalKeepsItsPromises } from "../testing.ts"

// Of 100,000 appends in all, 70,000 are made in memory, 20,000 on one server and 10,000 here.
journalKeepsItsPromises("the journal on three nats-servers", natsUnderTest(3, 10_000))
