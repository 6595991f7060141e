"""The order desk: a small web service worth breaking. Place an order, read it back, list them."""
