"""What every client SDK does, whatever moves its bytes: the policy of a client, pure, in one place.

aio_sdk (asyncio) and nio_sdk (selectors) drive the objects in here and add what differs: how to connect, to wait
and to hand messages over. Addresses, the heartbeat that learns, receipts, what is kept between runs, backoff and
redirects, one connection's life (`link`) and all that outlives connections (`standing`) are here once, so that the
two cannot come to differ. It is a package beside push.protocols.wire and not in it, as that is what client and server
agree upon; what a client does with it (when to come back, what to keep in a file) is no server's affair. Programs
import an SDK, never this.

Imports the standard library and push.protocols.wire. No asyncio, socket, selectors or threading: times and chance
come in as arguments, bytes go in and out. `token_store` alone touches the disk.
"""
