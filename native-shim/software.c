/* What the libraries without a device answer when they are asked about one. */
#include <string.h>

#include "codec.h"

int32_t codec_device(void)
{
	return CODEC_NO_DEVICE;
}

void codec_stats(const struct codec *codec, int64_t *counts)
{
	(void)codec;
	memset(counts, 0, CODEC_COUNTS * sizeof(*counts));
}
