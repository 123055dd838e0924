"""Django Channels like `fan_channels`, with the newer layer, publish and subscribe. `fan_channels_pubsub.py PORT REDIS_URL plain`."""

from fan_channels import run

run("channels_redis.pubsub.RedisPubSubChannelLayer")
