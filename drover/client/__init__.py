"""Client of the Drover API: requests, events, waiting, streams. See `drover.client.api.ApiClient`."""
