/* The second of two objects that are linked to one. */
#define SEC(name) __attribute__((section(name), used))
#define HIDDEN __attribute__((visibility("hidden")))
#define WEAK __attribute__((weak))

struct later { int x; };
struct state { unsigned long long hits; struct later *later; };
extern struct { int (*type)[1]; unsigned *key; struct state *value; int (*max_entries)[64]; } states SEC(".maps");
struct { int (*type)[2]; unsigned *key; unsigned *value; int (*max_entries)[1]; } own SEC(".maps");
static void *(*lookup)(void *map, const void *key) = (void *)1;

unsigned theirs = 9;
static unsigned mine = 5;
extern unsigned total;

static __attribute__((noinline)) int same(int x) { return mine ? x * 5 : 1; }
__attribute__((noinline)) int weigh(unsigned key, struct state *state)
{
	if (!state)
		return 0;
	state->hits++;
	return same(key);
}

__attribute__((noinline)) int bump(unsigned by)
{
	unsigned zero = 0;
	struct state *state = lookup(&states, &by);
	unsigned *value = lookup(&own, &zero);

	if (value)
		*value += total;
	return state ? 1 : 0;
}
HIDDEN __attribute__((noinline)) int hidden(unsigned by) { return by & 3; }
__attribute__((noinline)) int choice(int x) { return x + 300; }
WEAK __attribute__((noinline)) int fallback(int x) { return x + 400; }

SEC("xdp") int drop(void *context) { return 1 + (lookup(&own, &mine) != 0); }
char license[] SEC("license") = "GPL";
