"""Neural backends: vision-language models (vlm) and segmenters (segment). Heavy libraries load on first use."""
