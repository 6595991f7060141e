"""The network between regions: a router that holds back, loses and slows down what it forwards."""
