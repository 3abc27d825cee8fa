"""Files in and out: model files, lists, histories, matrices. Nothing here knows Kafka's workers or Redis."""
