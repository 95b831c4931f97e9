#!/bin/sh
# An SFTP server with one account, which logs in by key. The keys of both sides are created at the
# first start and stay in their volumes, so known_hosts pins the key that the server really has.
set -eu
test -e /server/host_key || ssh-keygen -q -t ed25519 -N "" -C sftp -f /server/host_key
test -e /keys/id_ed25519 || ssh-keygen -q -t ed25519 -N "" -C orchestrate -f /keys/id_ed25519
echo "[sftp]:2222 $(cut -d ' ' -f 1,2 /server/host_key.pub)" > /keys/known_hosts
exec /usr/sbin/sshd -D -e -f /dev/null -p 2222 -h /server/host_key \
    -o AuthorizedKeysFile=/keys/id_ed25519.pub \
    -o PasswordAuthentication=no \
    -o KbdInteractiveAuthentication=no \
    -o UsePAM=no \
    -o PidFile=none \
    -o DisableForwarding=yes \
    -o PermitTTY=no \
    -o Subsystem="sftp internal-sftp" \
    -o ForceCommand="internal-sftp -d /files"
