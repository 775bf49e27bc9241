/*
 * load: gRPC callers over mutual TLS that cost little themselves, so that they are not what is measured. One thread, HTTP/2 by nghttp2.
 *
 *   load PORT CA CERTIFICATES PRIVATE_KEYS PATH MESSAGES CLIENTS SECONDS LEAST WINDOW TOGETHER
 *
 * Each of CLIENTS has a connection of its own to 127.0.0.1 and one call under way: it sends the next one when the answer is there.
 * CERTIFICATES and PRIVATE_KEYS are files, separated by commas, as many of the ones as of the others: clients take them in turn. PATH is the RPC's. MESSAGES is a file of request messages, each after its length as u32 big-endian; they are sent in turn. An answer
 * that is shorter than LEAST bytes, or a status other than OK, is an error.
 *
 * With a WINDOW above 0 each client has one call of a bidirectional stream instead, with at most WINDOW entries unanswered. MESSAGES are
 * entries then: TOGETHER of them make a message, each as its field 1, and each with a field 1 put first, a uint64 that numbers it. An answer
 * is likewise any number of results, field 1 each, of LEAST bytes at least, with the entry's number as their own first field. What is
 * counted, and timed, are entries.
 *
 * It connects, calls for WARM_S seconds, prints `ready`, waits for a line of standard input, calls for SECONDS, waits for the last answers,
 * and prints one JSON object: {"count": answers or results, "wall_s": time, "cpu_s": its own processor time, "p50_us", "p99_us", "max_us"}. Errors
 * end it with a line on standard error and exit code 1.
 */
#define _DEFAULT_SOURCE /* strsep */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <nghttp2/nghttp2.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#define WARM_S 0.3
#define LAST_ANSWERS_S 30.0
#define MAX_CLIENTS 1024
#define MAX_IDENTITIES 64
#define MAX_WINDOW 4096
#define NUMBERS 65536 /* a power of two above MAX_WINDOW, with room for answers out of turn */
#define PREFIX 5      /* gRPC: a flag and the message's length */
#define FIELD_ROOM 11 /* a tag and a varint */
#define MAX_LATENCIES (1u << 24)

struct message {
	const uint8_t *data;
	size_t length;
};

struct bytes {
	uint8_t *data;
	size_t length, room;
};

struct client {
	int fd;
	SSL *ssl;
	nghttp2_session *session;
	struct bytes out; /* for TLS: one write for whatever one round of the loop produced */
	bool wants_to_write;

	int32_t stream; /* the call under way, or 0 */
	uint8_t *sending;
	size_t sending_length, sent;
	uint64_t number, answered;
	double *began; /* by number */

	uint8_t prefix[PREFIX];
	size_t prefix_length, body_left, body_length;
	struct bytes body; /* of a stream's answer, to look into */
	unsigned answers;
	int status;
	char text[200];
};

static struct message *messages;
static size_t message_count, next_message, longest_message;
static const char *path;
static size_t least, window, together;
static struct client *clients;
static size_t client_count, under_way;
static bool measuring, stopping, ending;
static float *latencies;
static size_t latency_count;
static uint64_t total;
static int poller;

static void fail(const char *what, const char *why)
{
	fprintf(stderr, "load: %s: %s\n", what, why);
	exit(1);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec * 1e-9;
}

static double cpu(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return time.tv_sec + time.tv_nsec * 1e-9;
}

static void *room(size_t size)
{
	void *memory = calloc(1, size);

	if (memory == NULL)
		fail("memory", strerror(errno));
	return memory;
}

static void append(struct bytes *bytes, const uint8_t *data, size_t length)
{
	if (bytes->length + length > bytes->room) {
		bytes->room = 2 * (bytes->length + length);
		bytes->data = realloc(bytes->data, bytes->room);
		if (bytes->data == NULL)
			fail("memory", strerror(errno));
	}
	memcpy(bytes->data + bytes->length, data, length);
	bytes->length += length;
}

static void read_messages(const char *file_name)
{
	FILE *file = fopen(file_name, "rb");
	uint32_t length;

	if (file == NULL)
		fail(file_name, strerror(errno));
	while (fread(&length, sizeof length, 1, file) == 1) {
		uint8_t *data;

		length = ntohl(length);
		data = room(length ? length : 1);
		if (fread(data, 1, length, file) != length)
			fail(file_name, "ends in the middle of a message");
		messages = realloc(messages, (message_count + 1) * sizeof *messages);
		if (messages == NULL)
			fail("memory", strerror(errno));
		messages[message_count++] = (struct message){ data, length };
		if (length > longest_message)
			longest_message = length;
	}
	fclose(file);
	if (message_count == 0)
		fail(file_name, "holds no message");
}

static uint8_t *put_varint(uint8_t *at, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		*at++ = (uint8_t)(value | 0x80);
	*at++ = (uint8_t)value;
	return at;
}

/* The next message of the file, which is the next entry of a stream: its number comes first. */
static uint8_t *put_next(struct client *client, uint8_t *at)
{
	const struct message *message = &messages[next_message++ % message_count];
	uint8_t number[FIELD_ROOM];

	client->number++;
	client->began[client->number % NUMBERS] = now();
	if (window) {
		size_t length;

		number[0] = 0x08; /* field 1, varint */
		length = put_varint(number + 1, client->number) - number;
		*at++ = 0x0a; /* field 1, length and bytes */
		at = put_varint(at, length + message->length);
		memcpy(at, number, length);
		at += length;
	}
	memcpy(at, message->data, message->length);
	return at + message->length;
}

/* One message as gRPC sends it. */
static void prepare_message(struct client *client)
{
	uint8_t *at = client->sending + PREFIX;
	size_t length;

	for (size_t i = 0; i < together; i++)
		at = put_next(client, at);
	length = at - client->sending - PREFIX;
	client->sending[0] = 0;
	for (int i = 0; i < 4; i++)
		client->sending[1 + i] = (uint8_t)(length >> (24 - 8 * i));
	client->sending_length = length + PREFIX;
	client->sent = 0;
}

static ssize_t give_data(nghttp2_session *session, int32_t stream, uint8_t *buffer, size_t size, uint32_t *flags,
			 nghttp2_data_source *source, void *user_data)
{
	struct client *client = user_data;
	size_t filled = 0;

	(void)session, (void)stream, (void)source;
	while (filled < size) {
		size_t piece = client->sending_length - client->sent;

		if (piece == 0) {
			if (!window || stopping || client->number - client->answered + together > window)
				break;
			prepare_message(client);
			continue;
		}
		if (piece > size - filled)
			piece = size - filled;
		memcpy(buffer + filled, client->sending + client->sent, piece);
		client->sent += piece;
		filled += piece;
	}
	if (client->sent == client->sending_length && (!window || ending)) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		return (ssize_t)filled;
	}
	return filled ? (ssize_t)filled : NGHTTP2_ERR_DEFERRED;
}

#define HEADER(name, value) { (uint8_t *)(name), (uint8_t *)(value), sizeof(name) - 1, strlen(value), NGHTTP2_NV_FLAG_NO_COPY_NAME }

static void start_call(struct client *client)
{
	nghttp2_nv headers[] = {
		HEADER(":method", "POST"),
		HEADER(":scheme", "https"),
		HEADER(":path", path),
		HEADER(":authority", "localhost"),
		HEADER("te", "trailers"),
		HEADER("content-type", "application/grpc"),
		HEADER("user-agent", "hsm-kms-bench"),
		HEADER("grpc-timeout", "60S"),
	};
	nghttp2_data_provider provider = { .read_callback = give_data };

	client->status = -1;
	client->answers = 0;
	client->text[0] = '\0';
	client->prefix_length = client->body_left = 0;
	if (!window)
		prepare_message(client);
	/* A stream lasts longer than any deadline that a unary call is given. */
	client->stream = nghttp2_submit_request(client->session, NULL, headers,
						sizeof headers / sizeof *headers - (window ? 1 : 0), &provider, client);
	if (client->stream < 0)
		fail("request", nghttp2_strerror(client->stream));
	under_way++;
}

static void count_answer(double began)
{
	total++;
	if (measuring && latency_count < MAX_LATENCIES)
		latencies[latency_count++] = (float)(now() - began);
}

static uint64_t take_varint(const uint8_t **at, const uint8_t *end)
{
	uint64_t value = 0;

	for (int shift = 0; *at < end && shift < 64; shift += 7) {
		uint8_t byte = *(*at)++;

		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return value;
	}
	fail("an answer of the stream is cut off", path);
	return 0;
}

/* The results in an answer of a stream. */
static void take_results(struct client *client)
{
	const uint8_t *at = client->body.data, *end = at + client->body.length;

	while (at < end) {
		uint64_t number, length;
		const uint8_t *result;

		if (*at++ != 0x0a)
			fail("an answer of the stream has something beside results", path);
		length = take_varint(&at, end);
		if (length > (size_t)(end - at))
			fail("an answer of the stream is cut off", path);
		if (length < least)
			fail("a result is too short: an error?", path);
		result = at;
		at += length;
		if (length == 0 || *result++ != 0x08)
			fail("a result has no number", path);
		number = take_varint(&result, at);
		if (number == 0 || number > client->number || client->number - number >= NUMBERS)
			fail("a result has a number that was not asked for", path);
		client->answered++;
		count_answer(client->began[number % NUMBERS]);
	}
}

/* A whole message has come. */
static void take_answer(struct client *client)
{
	client->answers++;
	if (window) {
		take_results(client);
		nghttp2_session_resume_data(client->session, client->stream);
		return;
	}
	if (client->body_length < least)
		fail("an answer is too short: an error in it?", path);
	count_answer(client->began[client->number % NUMBERS]);
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t length, void *user_data)
{
	struct client *client = user_data;

	(void)session, (void)flags, (void)stream;
	while (length) {
		size_t piece;

		if (client->prefix_length < PREFIX) {
			client->prefix[client->prefix_length++] = *data++;
			length--;
			if (client->prefix_length < PREFIX)
				continue;
			client->body_length = (size_t)client->prefix[1] << 24 | client->prefix[2] << 16 | client->prefix[3] << 8 |
					      client->prefix[4];
			client->body_left = client->body_length;
			client->body.length = 0;
		}
		piece = client->body_left < length ? client->body_left : length;
		if (window)
			append(&client->body, data, piece);
		data += piece;
		length -= piece;
		client->body_left -= piece;
		if (client->body_left == 0) {
			client->prefix_length = 0;
			take_answer(client);
		}
	}
	return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_length,
		     const uint8_t *value, size_t length, uint8_t flags, void *user_data)
{
	struct client *client = user_data;

	(void)session, (void)frame, (void)flags;
	if (name_length == 11 && memcmp(name, "grpc-status", 11) == 0)
		client->status = atoi((const char *)value);
	if (name_length == 12 && memcmp(name, "grpc-message", 12) == 0)
		snprintf(client->text, sizeof client->text, "%.*s", (int)length, value);
	return 0;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t error, void *user_data)
{
	struct client *client = user_data;

	(void)session;
	if (stream != client->stream)
		return 0;
	client->stream = 0;
	under_way--;
	if (client->status != 0 || error != NGHTTP2_NO_ERROR || (!window && client->answers != 1)) {
		char what[300];

		snprintf(what, sizeof what, "%s ended with status %d, HTTP/2 error %u, %u answers", path, client->status, error,
			 client->answers);
		fail(what, client->text);
	}
	if (!stopping)
		start_call(client);
	return 0;
}

static void flush(struct client *client)
{
	const uint8_t *data;
	ssize_t length;
	struct epoll_event event = { .data.ptr = client };
	bool blocked = false;

	while ((length = nghttp2_session_mem_send(client->session, &data)) > 0)
		append(&client->out, data, length);
	if (length < 0)
		fail("HTTP/2", nghttp2_strerror((int)length));
	while (client->out.length) {
		int written = SSL_write(client->ssl, client->out.data, (int)client->out.length);

		if (written <= 0) {
			if (SSL_get_error(client->ssl, written) != SSL_ERROR_WANT_WRITE)
				fail("TLS", "the connection is gone");
			blocked = true;
			break;
		}
		client->out.length -= written;
		memmove(client->out.data, client->out.data + written, client->out.length);
	}
	if (blocked != client->wants_to_write) {
		client->wants_to_write = blocked;
		event.events = blocked ? EPOLLIN | EPOLLOUT : EPOLLIN;
		epoll_ctl(poller, EPOLL_CTL_MOD, client->fd, &event);
	}
}

static void receive(struct client *client)
{
	static uint8_t buffer[65536];
	int length;

	while ((length = SSL_read(client->ssl, buffer, sizeof buffer)) > 0) {
		ssize_t taken = nghttp2_session_mem_recv(client->session, buffer, length);

		if (taken < 0)
			fail("HTTP/2", nghttp2_strerror((int)taken));
	}
	if (SSL_get_error(client->ssl, length) != SSL_ERROR_WANT_READ)
		fail(path, "the service has closed the connection");
}

static void take_turns(double until)
{
	struct epoll_event events[64];
	double left = until - now();
	int count = epoll_wait(poller, events, 64, left > 0 ? (int)(left * 1000) + 1 : 0);

	for (int i = 0; i < count; i++) {
		struct client *client = events[i].data.ptr;

		if (events[i].events & EPOLLIN)
			receive(client);
		flush(client);
	}
}

static size_t unanswered(void)
{
	size_t count = 0;

	if (!window)
		return under_way;
	for (size_t i = 0; i < client_count; i++)
		count += clients[i].number - clients[i].answered;
	return count;
}

/* Call for some time, and wait for what is still unanswered. */
static void work(double seconds)
{
	double end = now() + seconds;

	stopping = false;
	for (size_t i = 0; i < client_count; i++) {
		if (clients[i].stream == 0)
			start_call(&clients[i]);
		else
			nghttp2_session_resume_data(clients[i].session, clients[i].stream);
		flush(&clients[i]);
	}
	while (now() < end)
		take_turns(end);
	stopping = true;
	end = now() + LAST_ANSWERS_S;
	while (unanswered()) {
		if (now() > end)
			fail(path, "the last answers did not come");
		take_turns(end);
	}
}

static void end_streams(void)
{
	double end = now() + LAST_ANSWERS_S;

	ending = true;
	for (size_t i = 0; i < client_count; i++) {
		nghttp2_session_resume_data(clients[i].session, clients[i].stream);
		flush(&clients[i]);
	}
	while (under_way && now() < end)
		take_turns(end);
	if (under_way)
		fail(path, "a stream did not end");
}

static void connect_client(struct client *client, SSL_CTX *context, int port)
{
	static nghttp2_session_callbacks *callbacks;
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	nghttp2_settings_entry settings[] = { { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 24 }, { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 } };
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = client };
	int on = 1;

	if (callbacks == NULL) {
		nghttp2_session_callbacks_new(&callbacks);
		nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
		nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
		nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
	}
	client->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (client->fd < 0 || connect(client->fd, (struct sockaddr *)&address, sizeof address) != 0)
		fail("connect", strerror(errno));
	setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	client->ssl = SSL_new(context);
	SSL_set_fd(client->ssl, client->fd);
	SSL_set_tlsext_host_name(client->ssl, "localhost");
	SSL_set1_host(client->ssl, "localhost");
	if (SSL_connect(client->ssl) != 1)
		fail("TLS handshake", ERR_reason_error_string(ERR_get_error()));
	fcntl(client->fd, F_SETFL, O_NONBLOCK);
	client->sending = room(PREFIX + together * (2 * FIELD_ROOM + longest_message));
	client->began = room(NUMBERS * sizeof *client->began);
	nghttp2_session_client_new(&client->session, callbacks, client);
	nghttp2_submit_settings(client->session, NGHTTP2_FLAG_NONE, settings, sizeof settings / sizeof *settings);
	nghttp2_session_set_local_window_size(client->session, NGHTTP2_FLAG_NONE, 0, 1 << 24);
	if (epoll_ctl(poller, EPOLL_CTL_ADD, client->fd, &event) != 0)
		fail("epoll", strerror(errno));
}

static SSL_CTX *tls(const char *ca, const char *certificate, const char *private_key)
{
	static const unsigned char http2[] = "\x02h2";
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());

	SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_alpn_protos(context, http2, sizeof http2 - 1);
	SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	if (SSL_CTX_load_verify_locations(context, ca, NULL) != 1 ||
	    SSL_CTX_use_certificate_file(context, certificate, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_use_PrivateKey_file(context, private_key, SSL_FILETYPE_PEM) != 1)
		fail(certificate, "this, its private key or the authority's certificate cannot be used");
	return context;
}

static size_t read_identities(const char *ca, char *certificates, char *private_keys, SSL_CTX **identities)
{
	char *certificate, *private_key, *rest = certificates, *rest_of_keys = private_keys;
	size_t count = 0;

	while ((certificate = strsep(&rest, ",")) != NULL && (private_key = strsep(&rest_of_keys, ",")) != NULL) {
		if (count == MAX_IDENTITIES)
			fail(certificate, "too many certificates");
		identities[count++] = tls(ca, certificate, private_key);
	}
	return count;
}

static int compare(const void *left, const void *right)
{
	float a = *(const float *)left, b = *(const float *)right;

	return (a > b) - (a < b);
}

static double percentile(double part)
{
	size_t index = (size_t)(part * (double)latency_count);

	return latency_count ? latencies[index < latency_count ? index : latency_count - 1] * 1e6 : 0;
}

int main(int argc, char **argv)
{
	if (argc != 12) {
		fprintf(stderr, "usage: load PORT CA CERTIFICATES PRIVATE_KEYS PATH MESSAGES CLIENTS SECONDS LEAST WINDOW TOGETHER\n");
		return 2;
	}
	double seconds = strtod(argv[8], NULL), wall, used;
	SSL_CTX *identities[MAX_IDENTITIES];
	size_t identity_count = read_identities(argv[2], argv[3], argv[4], identities);

	path = argv[5];
	read_messages(argv[6]);
	client_count = strtoul(argv[7], NULL, 10);
	least = strtoul(argv[9], NULL, 10);
	window = strtoul(argv[10], NULL, 10);
	together = strtoul(argv[11], NULL, 10);
	if (client_count < 1 || client_count > MAX_CLIENTS || window > MAX_WINDOW || seconds <= 0)
		fail("arguments", "1 to 1024 clients, a window of at most 4096, and some time");
	if (together < 1 || together > (window ? window : 1))
		fail("arguments", "1 entry together at the least, and no more than the window");
	alarm((unsigned)(seconds + 2 * LAST_ANSWERS_S + 30)); /* whatever happens, it ends */
	poller = epoll_create1(0);
	clients = room(client_count * sizeof *clients);
	latencies = room(MAX_LATENCIES * sizeof *latencies);
	for (size_t i = 0; i < client_count; i++)
		connect_client(&clients[i], identities[i % identity_count], atoi(argv[1]));
	work(WARM_S);

	puts("ready");
	fflush(stdout);
	if (getchar() == EOF)
		return 1;
	measuring = true;
	total = 0;
	wall = now();
	used = cpu();
	work(seconds);
	wall = now() - wall;
	used = cpu() - used;
	qsort(latencies, latency_count, sizeof *latencies, compare);
	printf("{\"count\": %lu, \"wall_s\": %.6f, \"cpu_s\": %.6f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f}\n",
	       (unsigned long)total, wall, used, percentile(0.5), percentile(0.99), percentile(1));
	fflush(stdout);
	if (window)
		end_streams();
	return 0;
}
