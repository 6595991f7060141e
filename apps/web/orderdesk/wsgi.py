"""What gunicorn loads: `gunicorn orderdesk.wsgi:app`."""

from orderdesk.app import create_app
from orderdesk.config import Config
from orderdesk.database import OrderBook

config = Config.from_environment()
app = create_app(config, OrderBook(config))
