/*
 * Intel QATzip: a packet's pages in one call to a QAT device, as gzip members with its extra
 * field. A codec owns a session and two buffers, which the device reads and writes, so that what
 * the caller owns is never given to one.
 *
 * Pinned memory of a channel: 1122560 bytes to encode (524288 of pages, 598272 of members, or the
 * library's bound if that is more) and 1572928 to decode (1048608 and 524320). The library pins
 * more for each of the device's instances in use, of which each channel has at most one at a time:
 * 32 buffers of 65536 and 74752 bytes, 4489216 in all, and what the device needs between its two
 * stages.
 *
 * Without CODEC_DEVICE the library computes in software, which is for a few calls in tests and
 * benchmarks only: 1.3.1 and 2.0.0 leak a thread key in each, and after 1024 of them nobody in the
 * process gets one; where there is no /dev/vfio, each also has libqat print a line. Where a device
 * works the library uses it all the same.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <qatzip.h>

#include "common.h"
#include "counts.h"

#define MIN_LEVEL 1
#define MAX_LEVEL 9
/* what a packet holds, as QEMU makes them */
#define PACKET_BYTES (512u * 1024u)
#define PACKET_MEMBERS (PACKET_BYTES / QZ_MEMBER_SIZE)
/* the most that the device makes of a member's source: the library's own buffers end there */
#define MAX_DEFLATED_SIZE 74752u
#define MEMBER_FRAME (QZ_HEADER_SIZE + GZIP_TRAILER_SIZE)
/* the library reads a header and a trailer where the input is too short for them */
#define BEHIND_INPUT MEMBER_FRAME
/* one byte says that there is more; the rest is for the alignment */
#define BEHIND_OUTPUT 32u
/* set-ups in a row that fail before no more are tried: each leaks a thread key */
#define MAX_FAILED_SETUPS 3u

struct codec {
	enum codec_direction direction;
	uint32_t page_size;
	uint32_t level;
	bool is_device;
	bool is_set_up; /* the session: an error ends it, the next call makes it anew */
	uint32_t failed_setups;
	int32_t setup_status;
	QzSession_T session;
	uint32_t out_room;
	uint8_t *in;
	uint8_t *out;
	struct counts counts;
};

#ifdef MULTIFD_SIM

#define LIBRARY_NAME "simulated QATzip"

static bool may_have_device(void)
{
	return true;
}

#else

#define LIBRARY_NAME "QATzip"

/* A number that sysfs gives of a PCI device; 0 where it gives none. */
static uint32_t read_pci_number(int bus, const char *device, const char *name)
{
	char path[300];
	char text[16] = { 0 };
	ssize_t size;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", device, name);
	fd = openat(bus, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	size = read(fd, text, sizeof(text) - 1);
	close(fd);
	return size > 0 ? (uint32_t)strtoul(text, NULL, 16) : 0;
}

static bool is_qat(uint32_t vendor, uint32_t device)
{
	/* each family's physical function; the virtual one is the next number */
	static const uint32_t families[] = {
		0x37c8, 0x19e2, 0x18a0, 0x6f54, /* C62x, C3xxx, 200xx, D15xx */
		0x4940, 0x4942, 0x4944, 0x4946, 0x4948, /* 4xxx, 401xx, 402xx, 420xx, 6xxx */
	};

	for (uint32_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
		if (vendor == 0x8086 && (device & ~1u) == families[i])
			return true;
	return false;
}

static bool has_qat_on_pci(void)
{
	DIR *bus = opendir("/sys/bus/pci/devices");
	struct dirent *entry;
	bool found = false;

	if (bus == NULL)
		return false;
	while (!found && (entry = readdir(bus)) != NULL)
		found = is_qat(read_pci_number(dirfd(bus), entry->d_name, "vendor"),
			       read_pci_number(dirfd(bus), entry->d_name, "device"));
	closedir(bus);
	return found;
}

static bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}

/* Asked before the library is, which prints where there is nothing. */
static bool may_have_device(void)
{
	return exists("/dev/qat_adf_ctl") || exists("/dev/usdm_drv") ||
	       (exists("/dev/vfio/vfio") && has_qat_on_pci());
}

#endif

uint32_t codec_abi(void)
{
	return CODEC_ABI;
}

uint32_t codec_probe(char *text, uint32_t room)
{
	char version[32]; /* of what it was built with: the library tells none */

	snprintf(version, sizeof(version), "API %d.%d", QATZIP_API_VERSION_NUM_MAJOR,
		 QATZIP_API_VERSION_NUM_MINOR);
	name_version(text, room, LIBRARY_NAME, version);
	return 1u << CODEC_GZIP_MEMBERS | 1u << (8 + CODEC_GZIP_MEMBERS);
}

static void tear_down(QzSession_T *session)
{
	qzTeardownSession(session);
	qzClose(session);
	*session = (QzSession_T){ 0 };
}

/* A status above zero says that software stands in. */
static bool is_good(int status, bool is_device)
{
	return status == QZ_OK || (!is_device && status > 0);
}

/* Makes a session; QZ_OK, or the library's reason. */
static int32_t set_up(QzSession_T *session, bool is_device, enum codec_direction direction,
		      uint32_t level)
{
	QzSessionParamsDeflate_T params;
	int status;

	*session = (QzSession_T){ 0 };
	qzSetLogLevel(LOG_NONE);
	status = qzInit(session, is_device ? 0 : 1);
	if (status == QZ_DUPLICATE) /* an earlier session of the process found the device */
		status = QZ_OK;
	if (is_good(status, is_device))
		status = qzGetDefaultsDeflate(&params);
	if (is_good(status, is_device)) {
		params.common_params.direction =
			direction == CODEC_ENCODE ? QZ_DIR_COMPRESS : QZ_DIR_DECOMPRESS;
		if (direction == CODEC_ENCODE)
			params.common_params.comp_lvl = level;
		/* the default is software, whatever qzInit() was told */
		params.common_params.sw_backup = is_device ? 0 : 1;
		params.common_params.hw_buff_sz = QZ_MEMBER_SIZE;
		params.data_fmt = QZ_DEFLATE_GZIP_EXT;
		status = qzSetupSessionDeflate(session, &params);
	}
	if (is_good(status, is_device))
		return QZ_OK;
	tear_down(session);
	return status;
}

/* Leaks a thread key where the device does not initialise: once per process is enough. */
int32_t codec_device(void)
{
	QzSession_T session;
	int32_t status;

	if (!may_have_device())
		return QZ_NOSW_NO_HW;
	status = set_up(&session, true, CODEC_ENCODE, MIN_LEVEL);
	if (status == QZ_OK)
		tear_down(&session);
	return status;
}

static uint8_t *take(uint32_t size, bool is_device)
{
	uint8_t *bytes = NULL;

	if (is_device)
		bytes = qzMalloc(size, QZ_AUTO_SELECT_NUMA_NODE, PINNED_MEM);
	if (bytes == NULL)
		bytes = qzMalloc(size, QZ_AUTO_SELECT_NUMA_NODE, COMMON_MEM);
	if (bytes != NULL)
		memset(bytes, 0, size);
	return bytes;
}

/* The library's own bound counts the frame of one member only. */
static uint32_t room_for_members(QzSession_T *session)
{
	uint32_t room = PACKET_MEMBERS * (MAX_DEFLATED_SIZE + MEMBER_FRAME);
	uint32_t bound = qzMaxCompressedLength(PACKET_BYTES, session);

	if (room < bound)
		room = bound;
	return room < MAX_PACKET_BYTES ? room : MAX_PACKET_BYTES;
}

struct codec *codec_open(uint32_t format, uint32_t direction, uint32_t page_size, int32_t level,
			 uint32_t flags)
{
	struct codec *codec;

	if (format != CODEC_GZIP_MEMBERS || direction > CODEC_DECODE || !is_page_size(page_size))
		return NULL;
	if ((flags & CODEC_DEVICE) != 0 && !may_have_device())
		return NULL;
	codec = calloc(1, sizeof(*codec));
	if (codec == NULL)
		return NULL;
	if (level < MIN_LEVEL)
		level = MIN_LEVEL;
	codec->direction = (enum codec_direction)direction;
	codec->page_size = page_size;
	codec->level = level > MAX_LEVEL ? MAX_LEVEL : (uint32_t)level;
	codec->is_device = (flags & CODEC_DEVICE) != 0;
	if (set_up(&codec->session, codec->is_device, codec->direction, codec->level) != QZ_OK) {
		free(codec);
		return NULL;
	}
	codec->is_set_up = true;
	if (direction == CODEC_ENCODE) {
		codec->in = take(PACKET_BYTES, codec->is_device);
		codec->out_room = room_for_members(&codec->session);
	} else {
		codec->in = take(MAX_PACKET_BYTES + BEHIND_INPUT, codec->is_device);
		codec->out_room = PACKET_BYTES + BEHIND_OUTPUT;
	}
	codec->out = take(codec->out_room, codec->is_device);
	if (codec->in == NULL || codec->out == NULL) {
		codec_close(codec);
		return NULL;
	}
	return codec;
}

static void end_session(struct codec *codec)
{
	if (codec->is_set_up)
		tear_down(&codec->session);
	codec->is_set_up = false;
}

void codec_reset(struct codec *codec)
{
	codec->failed_setups = 0; /* nothing else is carried from packet to packet */
}

void codec_close(struct codec *codec)
{
	if (codec == NULL)
		return;
	end_session(codec);
	qzFree(codec->in);
	qzFree(codec->out);
	free(codec);
}

void codec_stats(const struct codec *codec, int64_t *counts)
{
	memcpy(counts, codec->counts.values, sizeof(codec->counts.values));
}

/* Ends a session that did not do what it had to: it could spoil the next packet too. */
static int32_t fail_with(struct codec *codec, int32_t status)
{
	end_session(codec);
	if (!codec->is_device)
		return CODEC_LIBRARY_ERROR;
	count_failure(&codec->counts, status);
	return CODEC_DEVICE_FAILED;
}

/* A session to work with: 0, or a codec_result, and setup_status says why. */
static int32_t prepare(struct codec *codec)
{
	if (codec->is_set_up)
		return 0;
	if (codec->failed_setups == MAX_FAILED_SETUPS)
		return codec->is_device ? CODEC_DEVICE_FAILED : CODEC_LIBRARY_ERROR;
	codec->setup_status =
		set_up(&codec->session, codec->is_device, codec->direction, codec->level);
	if (codec->setup_status != QZ_OK) {
		codec->failed_setups++;
		return fail_with(codec, codec->setup_status);
	}
	codec->failed_setups = 0;
	codec->is_set_up = true;
	return 0;
}

static void count_pages(struct codec *codec, uint32_t size)
{
	if (codec->is_device)
		codec->counts.values[CODEC_DEVICE_PAGES] += size / codec->page_size;
}

/* Whether there is a header as QATzip writes it, at least: the level may say so in its flags. */
static bool is_qz_header(const uint8_t *p)
{
	uint8_t expected[QZ_HEADER_SIZE];

	write_qz_header(expected, read_le32(p + 16), read_le32(p + 20));
	if (p[8] == 2 || p[8] == 4)
		expected[8] = p[8];
	return memcmp(p, expected, sizeof(expected)) == 0;
}

/* Whether these are whole members with QATzip's field, and their sizes true as far as they tell. */
static bool are_members(const uint8_t *in, uint32_t size, uint32_t source_size, uint32_t member_size)
{
	uint32_t at = 0;
	uint32_t filled = 0;

	while (at < size) {
		uint32_t source;
		uint32_t deflated;

		if (size - at < MEMBER_FRAME || !is_qz_header(in + at))
			return false;
		source = read_le32(in + at + 16);
		deflated = read_le32(in + at + 20);
		if (source < 1 || source > member_size || source > source_size - filled ||
		    deflated > size - at - MEMBER_FRAME)
			return false;
		if (member_size == QZ_MEMBER_SIZE && deflated > MAX_DEFLATED_SIZE)
			return false;
		at += QZ_HEADER_SIZE + deflated + GZIP_TRAILER_SIZE;
		filled += source;
		if (read_le32(in + at - 4) != source)
			return false;
	}
	return filled == source_size;
}

int32_t codec_encode(struct codec *codec, const uint8_t *pages, uint32_t size, uint8_t *out,
		     uint32_t room, uint32_t *lengths)
{
	unsigned int used = size;
	unsigned int made;
	int32_t result;
	int status;

	(void)lengths;
	if (codec->direction != CODEC_ENCODE || !is_whole_pages(size, codec->page_size) ||
	    size > PACKET_BYTES)
		return CODEC_BAD_CALL;
	result = prepare(codec);
	if (result < 0)
		return result;
	memcpy(codec->in, pages, size);
	made = codec->out_room;
	status = qzCompress(&codec->session, codec->in, &used, codec->out, &made, 1);
	if (status != QZ_OK)
		return fail_with(codec, status);
	if (used != size || made > codec->out_room ||
	    !are_members(codec->out, made, size, codec->is_device ? QZ_MEMBER_SIZE : size))
		return fail_with(codec, STATUS_WRONG_LENGTH);
	if (made > room)
		return CODEC_DOES_NOT_FIT;
	memcpy(out, codec->out, made);
	count_pages(codec, size);
	return (int32_t)made;
}

static int32_t fail_device(struct codec *codec, struct codec_fault *fault, int32_t status)
{
	return fail(fault, fail_with(codec, status), NO_PAGE, 0, 0, status);
}

static int32_t decode_by_device(struct codec *codec, uint32_t size, uint32_t out_size,
				struct codec_fault *fault)
{
	unsigned int used = size;
	unsigned int made = out_size;
	int status;

	/* what a device does not take is not given to it: the library would read on regardless */
	if (!are_members(codec->in, size, out_size, QZ_MEMBER_SIZE)) {
		count_failure(&codec->counts, QZ_NOSW_UNSUPPORTED_FMT);
		return fail(fault, CODEC_DEVICE_FAILED, NO_PAGE, 0, 0, QZ_NOSW_UNSUPPORTED_FMT);
	}
	status = qzDecompress(&codec->session, codec->in, &used, codec->out, &made);
	if (status != QZ_OK)
		return fail_device(codec, fault, status);
	if (used != size || made != out_size)
		return fail_device(codec, fault, STATUS_WRONG_LENGTH);
	return 0;
}

/* The library takes a last member without its trailer, or less of it. */
static bool ends_whole(const uint8_t *in, uint32_t size, uint32_t out_size)
{
	uint32_t source;

	if (size < MEMBER_FRAME)
		return false;
	if (is_qz_header(in))
		return are_members(in, size, out_size, out_size);
	source = read_le32(in + size - 4);
	return source >= 1 && source <= out_size;
}

static int32_t decode_by_software(struct codec *codec, uint32_t size, uint32_t out_size,
				  struct codec_fault *fault)
{
	unsigned int used = size;
	unsigned int made = out_size + 1; /* a byte too many says that there is more */
	int status;

	if (size == 0)
		return fail(fault, CODEC_TOO_SHORT, NO_PAGE, out_size, 0, 0);
	status = qzDecompress(&codec->session, codec->in, &used, codec->out, &made);
	if (status == QZ_OK && made == out_size && used == size &&
	    ends_whole(codec->in, size, out_size))
		return 0;
	end_session(codec);
	if (status == QZ_DATA_ERROR)
		return fail(fault, CODEC_BAD_DATA, NO_PAGE, 0, 0, status);
	if (status != QZ_OK)
		return fail(fault, CODEC_LIBRARY_ERROR, NO_PAGE, 0, 0, status);
	if (made > out_size)
		return fail(fault, CODEC_TOO_LONG, NO_PAGE, out_size, made, 0);
	if (made < out_size)
		return fail(fault, CODEC_TOO_SHORT, NO_PAGE, out_size, made, 0);
	if (used < size)
		return fail(fault, CODEC_LEFT_OVER, NO_PAGE, used, size, 0);
	return fail(fault, CODEC_BAD_DATA, NO_PAGE, 0, 0, 0);
}

int32_t codec_decode(struct codec *codec, const uint8_t *in, uint32_t size, const uint32_t *lengths,
		     uint8_t *out, uint32_t out_size, struct codec_fault *fault)
{
	int32_t result;

	(void)lengths;
	if (codec->direction != CODEC_DECODE || !is_whole_pages(out_size, codec->page_size) ||
	    out_size > PACKET_BYTES || size > MAX_PACKET_BYTES)
		return CODEC_BAD_CALL;
	result = prepare(codec);
	if (result < 0)
		return fail(fault, result, NO_PAGE, 0, 0, codec->setup_status);
	if (size > 0)
		memcpy(codec->in, in, size);
	memset(codec->in + size, 0, BEHIND_INPUT);
	if (codec->is_device)
		result = decode_by_device(codec, size, out_size, fault);
	else
		result = decode_by_software(codec, size, out_size, fault);
	if (result < 0)
		return result;
	memcpy(out, codec->out, out_size);
	count_pages(codec, out_size);
	return (int32_t)out_size;
}
