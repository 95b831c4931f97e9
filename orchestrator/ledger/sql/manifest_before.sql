select sequence, sha256
from manifests
where export = :export and sequence < :before
order by sequence desc
limit 1
