/* Codecs that are opened and, with -DPLANTED, never closed: LeakSanitizer must find them. */
#include "../../native-shim/codec.h"

#include <stddef.h>

/* Where nothing else looks: a register that still has the pointer would hide the leak. */
static struct codec *volatile last;

int main(void)
{
	for (int i = 0; i < 4; i++) {
		last = codec_open(CODEC_ZSTD_STREAM, CODEC_ENCODE, 4096, 1, 0);
		if (last == NULL)
			return 2;
#ifndef PLANTED
		codec_close(last);
#endif
	}
	last = NULL;
	return 0;
}
