"""Event Based Export: daily activity and broadcast files per brand, delivered by SFTP."""

import zoneinfo

# Use the time zone rules of the package tzdata, whose version is locked, on every machine. Those of
# the operating system may be years old (https://docs.python.org/3/library/zoneinfo.html).
zoneinfo.reset_tzpath(())
