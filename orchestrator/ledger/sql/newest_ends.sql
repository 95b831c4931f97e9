select
    export,
    destination,
    max(window_end) as window_end
from deliveries
where delivered_at is not null
group by export, destination
