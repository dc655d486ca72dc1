"""A bare grpc.aio server that sends back what it gets: the most that any server on grpc.aio can reach."""
