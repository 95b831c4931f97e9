select windows.*
from {newest} as windows
where windows.state <> 'delivered'
