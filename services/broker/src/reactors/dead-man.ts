/** How often a machine's dead man looks whether the cell has been heard, in seconds. */
const everyS = 15
/** Where a machine's agent writes each time that it has heard from its cell. */
const heardFile = "/run/millrace-heard"

/**
 * Turns the machine off when what its agent writes has not changed for so long: the agent has not heard from its cell, is
 * gone, or never came. It counts its own turns, so a clock that is set changes nothing; a new start begins anew.
 */
const script = `#!/bin/sh
# $1: the file that the agent writes when it has heard from its cell; $2: after how long without that
# this machine is turned off, and $3: how often it is looked at, in seconds.
heard=none
silent=0
while [ "$silent" -lt "$2" ]; do
  sleep "$3"
  now=$(cat "$1" 2>/dev/null)
  if [ "$now" != "$heard" ]; then
    heard=$now
    silent=0
  else
    silent=$((silent + $3))
  fi
done
systemctl poweroff
sleep 120
exec systemctl poweroff --force --force
`

const unit = (deadManMs: number) => `[Unit]
Description=Turns this machine off when its Millrace cell is not heard

[Service]
ExecStart=/bin/sh /etc/millrace/dead-man ${heardFile} ${Math.ceil(deadManMs / 1000)} ${everyS}
Restart=always

[Install]
WantedBy=multi-user.target
`

/** What a machine needs to end by itself once its cell is silent for so long: files, a unit to start, and its agent's setting. */
export const deadManOf = (deadManMs: number) => ({
  files: [
    { path: "/etc/millrace/dead-man", permissions: "0700", content: script },
    { path: "/etc/systemd/system/millrace-dead-man.service", permissions: "0644", content: unit(deadManMs) }
  ],
  unit: "millrace-dead-man",
  agentSettings: `MILLRACE_DEAD_MAN_FILE=${heardFile}`
})
