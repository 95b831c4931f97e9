"""Event Based Export: daily activity and broadcast files per brand, delivered by SFTP."""

import zoneinfo

# One set of time zone rules on every machine: those of the package tzdata, whose version the lock
# names, not the system's, which may be years old (https://docs.python.org/3/library/zoneinfo.html).
zoneinfo.reset_tzpath(())
