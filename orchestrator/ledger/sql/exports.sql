select export
from {exports} as exports
