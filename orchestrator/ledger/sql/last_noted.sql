select max(updated_at) as updated_at
from windows
where updated_at < :until
