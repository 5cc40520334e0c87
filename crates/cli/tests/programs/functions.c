typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
#define SEC(name) __attribute__((section(name), used))
#define KSYM __attribute__((section(".ksyms"))) extern
#define HIDDEN(name) __attribute__((section(".data." #name), used, visibility("hidden"), aligned(8)))
#define CONTAINS(type, node) __attribute__((btf_decl_tag("contains:" #type ":" #node)))
struct xdp_md { u32 data, data_end, data_meta, ifindex, queue, egress; };
struct bpf_spin_lock { u32 val; };
struct bpf_list_head { u64 __opaque[2]; } __attribute__((aligned(8)));
struct bpf_list_node { u64 __opaque[3]; } __attribute__((aligned(8)));
struct bpf_rb_root { u64 __opaque[2]; } __attribute__((aligned(8)));
struct bpf_rb_node { u64 __opaque[4]; } __attribute__((aligned(8)));
struct bpf_dynptr { u64 __opaque[2]; } __attribute__((aligned(8)));
struct item { u64 value; struct bpf_list_node node; };
struct leaf { u64 value; struct bpf_rb_node node; };
KSYM void *bpf_obj_new_impl(u64 type, void *meta);
KSYM void bpf_obj_drop_impl(void *object, void *meta);
KSYM int bpf_list_push_front_impl(struct bpf_list_head *, struct bpf_list_node *, void *, u64);
KSYM int bpf_list_push_back_impl(struct bpf_list_head *, struct bpf_list_node *, void *, u64);
KSYM struct bpf_list_node *bpf_list_pop_front(struct bpf_list_head *);
KSYM int bpf_rbtree_add_impl(struct bpf_rb_root *, struct bpf_rb_node *,
    _Bool (*less)(struct bpf_rb_node *, const struct bpf_rb_node *), void *, u64);
KSYM struct bpf_rb_node *bpf_rbtree_first(struct bpf_rb_root *);
KSYM struct bpf_rb_node *bpf_rbtree_remove(struct bpf_rb_root *, struct bpf_rb_node *);
KSYM int bpf_dynptr_from_xdp(struct xdp_md *, u64 flags, struct bpf_dynptr *);
KSYM void *bpf_dynptr_slice(const struct bpf_dynptr *, u32 at, void *buffer, u32 size);
KSYM int bpf_dynptr_adjust(const struct bpf_dynptr *, u32 start, u32 end);
KSYM u32 bpf_dynptr_size(const struct bpf_dynptr *);
static long (*lock)(struct bpf_spin_lock *) = (void *)93;
static long (*unlock)(struct bpf_spin_lock *) = (void *)94;
static long (*check_mtu)(void *, u32, u32 *, int, u64) = (void *)163;
#define NEW(type) ((type *)bpf_obj_new_impl(__builtin_btf_type_id(*(type *)0, 0), 0))
#define HOLDER(type, at) ((type *)((void *)(at) - __builtin_offsetof(type, node)))

HIDDEN(A) struct bpf_spin_lock list_lock;
HIDDEN(A) struct bpf_list_head list CONTAINS(item, node);
HIDDEN(B) struct bpf_spin_lock tree_lock;
HIDDEN(B) struct bpf_rb_root tree CONTAINS(leaf, node);

static int push(u64 value, _Bool first)
{
    struct item *item = NEW(struct item);
    if (!item)
        return 1;
    item->value = value;
    lock(&list_lock);
    if (first)
        bpf_list_push_front_impl(&list, &item->node, 0, 0);
    else
        bpf_list_push_back_impl(&list, &item->node, 0, 0);
    unlock(&list_lock);
    return 0;
}

static u32 pop(void)
{
    struct bpf_list_node *node;
    lock(&list_lock);
    node = bpf_list_pop_front(&list);
    unlock(&list_lock);
    if (!node)
        return 0;
    struct item *item = HOLDER(struct item, node);
    u32 value = item->value;
    bpf_obj_drop_impl(item, 0);
    return value;
}

SEC("xdp") int in_lists(struct xdp_md *context)
{
    if (push(1, 0) || push(2, 1) || push(3, 0))
        return 0;
    u32 sum = pop();
    sum = sum * 10 + pop();
    sum = sum * 10 + pop();
    return sum * 10 + pop();
}

static _Bool less(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
    return HOLDER(struct leaf, a)->value < HOLDER(struct leaf, b)->value;
}

static int add(u64 value)
{
    struct leaf *leaf = NEW(struct leaf);
    if (!leaf)
        return 1;
    leaf->value = value;
    lock(&tree_lock);
    bpf_rbtree_add_impl(&tree, &leaf->node, less, 0, 0);
    unlock(&tree_lock);
    return 0;
}

static u32 least(void)
{
    struct bpf_rb_node *node;
    lock(&tree_lock);
    node = bpf_rbtree_first(&tree);
    if (!node) {
        unlock(&tree_lock);
        return 0;
    }
    node = bpf_rbtree_remove(&tree, node);
    unlock(&tree_lock);
    if (!node)
        return 0;
    struct leaf *leaf = HOLDER(struct leaf, node);
    u32 value = leaf->value;
    bpf_obj_drop_impl(leaf, 0);
    return value;
}

SEC("xdp") int in_trees(struct xdp_md *context)
{
    if (add(5) || add(9) || add(2) || add(7))
        return 0;
    u32 sum = least();
    sum = sum * 10 + least();
    sum = sum * 10 + least();
    sum = sum * 10 + least();
    return sum * 10 + least();
}

SEC("xdp") int dynptrs(struct xdp_md *context)
{
    struct bpf_dynptr packet;
    u8 buffer[4] = {};
    if (bpf_dynptr_from_xdp(context, 0, &packet))
        return 0;
    u32 sum = bpf_dynptr_size(&packet);
    u8 *bytes = bpf_dynptr_slice(&packet, 2, buffer, 4);
    if (bytes)
        sum = sum * 100 + bytes[0] + bytes[3];
    sum = sum * 10 + (bpf_dynptr_adjust(&packet, 100, 200) == -34);
    sum = sum * 10 + (bpf_dynptr_adjust(&packet, 10, 20) == 0);
    sum = sum * 100 + bpf_dynptr_size(&packet);
    return sum * 10 + !bpf_dynptr_slice(&packet, 8, buffer, 4);
}

SEC("xdp") int mtu(struct xdp_md *context)
{
    u32 length = 0, long_one = 70000;
    int fits = check_mtu(context, 0, &length, 0, 0);
    int none = check_mtu(context, 0, &long_one, 0, 0);
    int flag = check_mtu(context, 0, &length, 0, 8);
    return fits * 100 + none * 10 + (flag == -22) + (long_one == length) * 1000;
}
char LICENSE[] SEC("license") = "GPL";
