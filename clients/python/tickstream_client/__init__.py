"""Subscribe to a tickstream gateway, or consume its streams.

`subscribe` is for asyncio; `tickstream_client.sync.subscribe` is the same as a plain iterator.
"""

from tickstream_client.messages import Alert, Gap, Market, Status, Stock, Update
from tickstream_client.parting import Refused
from tickstream_client.subscription import Subscription, subscribe

__all__ = ["Alert", "Gap", "Market", "Refused", "Status", "Stock", "Subscription", "Update", "__version__", "subscribe"]

__version__ = "0.1.0"
