"""Event Based Export: daily activity and broadcast files per brand, delivered by SFTP."""

import zoneinfo

# Read time zone rules from the package tzdata only: its version is locked, while the rules of the
# operating system may be years old (https://docs.python.org/3/library/zoneinfo.html).
zoneinfo.reset_tzpath(())
