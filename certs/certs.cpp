// The certs room.
