/* The first of two objects that are linked to one. */
#define SEC(name) __attribute__((section(name), used))
#define HIDDEN __attribute__((visibility("hidden")))
#define WEAK __attribute__((weak))

struct later;
struct state { unsigned long long hits; struct later *later; };
struct { int (*type)[1]; unsigned *key; struct state *value; int (*max_entries)[64]; } states SEC(".maps");
static void *(*lookup)(void *map, const void *key) = (void *)1;

struct context { unsigned data, data_end, data_meta, ifindex; };
struct task { int pid; } __attribute__((preserve_access_index));

const volatile unsigned step = 3;
unsigned total = 7;
static unsigned mine = 1;
extern unsigned theirs;
int weigh(unsigned key, struct state *state);
int bump(unsigned by);
HIDDEN int hidden(unsigned by);
static __attribute__((noinline)) int same(int x) { return mine ? x * 3 : 0; }
WEAK __attribute__((noinline)) int choice(int x) { return x + 100; }
WEAK __attribute__((noinline)) int fallback(int x) { return x + 200; }

SEC("xdp") int pass(struct context *context)
{
	unsigned key = context->ifindex;
	struct state *state = lookup(&states, &key);

	total += step;
	theirs++;
	if (!state)
		return same(2) + choice(1) + fallback(1);
	return bump(key) + hidden(key) + weigh(key, state);
}

SEC("kprobe/do_exit") int on_exit(void *regs)
{
	struct task *task = regs;
	return __builtin_preserve_field_info(task->pid, 2);
}
char license[] SEC("license") = "GPL";
