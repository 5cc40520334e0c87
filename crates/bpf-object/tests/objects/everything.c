// One object with what a linker meets: kinds of maps, variables, calls, callbacks, externs and all
// CO-RE relocations. It is linked, not run.

typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define __uint(name, value) int(*name)[value]
#define __type(name, value) value *name
#define __array(name, value) __typeof__(value) *name[]
#define access __attribute__((preserve_access_index))

static void *(*bpf_map_lookup_elem)(void *, const void *) = (void *)1;
static long (*bpf_loop)(u32, void *, void *, u64) = (void *)181;

struct pair {
    u32 left;
    u64 right;
};

struct inner {
    __uint(type, 2);
    __uint(max_entries, 8);
    __type(key, u32);
    __type(value, u64);
};

struct {
    __uint(type, 1);
    __uint(max_entries, 1024);
    __uint(map_flags, 1);
    __uint(pinning, 1);
    __type(key, u32);
    __type(value, struct pair);
} pairs SEC(".maps");

struct inner first SEC(".maps"), second SEC(".maps");

struct {
    __uint(type, 12);
    __uint(max_entries, 4);
    __uint(key_size, 4);
    __array(values, struct inner);
} outer SEC(".maps") = {.values = {[0] = &first, [2] = &second}};

int tail(void *context);

struct {
    __uint(type, 3);
    __uint(max_entries, 2);
    __uint(key_size, 4);
    __array(values, int(void *));
} jumps SEC(".maps") = {.values = {[1] = (void *)&tail}};

struct {
    u32 type, key_size, value_size, max_entries, flags;
} old SEC("maps") = {2, 4, 8, 16, 0};

const volatile u32 limit = 7;
u64 counter;
u64 start = 42;
const volatile u32 *const address = &limit;

extern int kernel_function(int) __attribute__((section(".ksyms")));
extern int weak_function(int) __attribute__((section(".ksyms"), weak));
extern const void kernel_variable __attribute__((section(".ksyms")));
extern u32 CONFIG_HZ __attribute__((section(".kconfig")));

__attribute__((noinline)) int global_function(u64 number)
{
    return number * limit;
}

static __attribute__((noinline)) int static_function(u64 number)
{
    counter += number;
    return global_function(number + 1);
}

static long callback(u64 index, void *context)
{
    counter += index;
    return 0;
}

SEC("tc")
int tail(void *context)
{
    u32 key = 0;
    u64 *value = bpf_map_lookup_elem(&old, &key);
    return value ? *value : CONFIG_HZ;
}

SEC("xdp")
int calls(void *context)
{
    u32 key = static_function(start);
    struct pair *pair = bpf_map_lookup_elem(&pairs, &key);
    if (pair)
        counter += pair->right;
    bpf_loop(4, callback, 0, 0);
    return static_function(key);
}

SEC("tc")
int externs(void *context)
{
    int sum = kernel_function((long)&kernel_variable);
    if (weak_function)
        sum += weak_function(1);
    return sum;
}

struct here___local {
    int moved;
    u32 wider;
    struct {
        int deep;
    };
    u32 flag : 3;
    int gone;
    int list[4];
} access;

enum which { WHICH_ONE = 1, WHICH_TWO = 2 };
typedef int number;
struct absent___local {
    int field;
} access;

SEC("raw_tp/core")
u64 core(u64 *context)
{
    struct here___local *here = (void *)context[0];
    volatile u64 sum = 0;
    sum += __builtin_preserve_field_info(here->moved, 0);
    sum += __builtin_preserve_field_info(here->wider, 1);
    sum += __builtin_preserve_field_info(here->gone, 2);
    sum += __builtin_preserve_field_info(here->flag, 3);
    sum += __builtin_preserve_field_info(here->flag, 4);
    sum += __builtin_preserve_field_info(here->flag, 5);
    sum += __builtin_preserve_field_info(here->deep, 0);
    sum += __builtin_preserve_field_info(here->list[2], 0);
    sum += __builtin_btf_type_id(*here, 0);
    sum += __builtin_btf_type_id(*here, 1);
    sum += __builtin_preserve_type_info(*here, 0);
    sum += __builtin_preserve_type_info(*here, 1);
    sum += __builtin_preserve_type_info(*(struct absent___local *)0, 0);
    sum += __builtin_preserve_enum_value(*(enum which *)WHICH_TWO, 0);
    sum += __builtin_preserve_enum_value(*(enum which *)WHICH_TWO, 1);
    return sum;
}

SEC("raw_tp/loads")
u64 loads(u64 *context)
{
    struct here___local *here = (void *)context[0];
    return here->wider;
}

SEC("raw_tp/gone")
u64 gone(u64 *context)
{
    struct here___local *here = (void *)context[0];
    return here->gone;
}

SEC("raw_tp/matches")
u64 matches(u64 *context)
{
    struct here___local *here = (void *)context[0];
    volatile u64 sum = __builtin_preserve_type_info(*here, 2);
    return sum;
}

char _license[] SEC("license") = "Dual MIT/GPL";
u32 _version SEC("version") = 0x50a00;
