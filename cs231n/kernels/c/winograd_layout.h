/* Where the data of Winograd's convolution lie in memory, see winograd.h. */

enum { PATCH = 6, ELEMENTS = PATCH * PATCH };
enum { CHANNELS_AT_A_TIME = 8 }; /* when filters are transposed */
enum { NOT_FINITE = 2 };         /* what a pass returns that met an infinity or NaN */

/* A plane of an image: its size, and the place in it where the pixels or outputs of a pass begin. The place
   may lie in the padding. */
typedef struct {
    Index channels, height, width, first_row, first_column;
} Planes;

/* A convolution of all images at stride 1, in patches. */
typedef struct {
    Planes from, to;
    Index images;
    Index channels, filters;            /* in whole vectors */
    Index taps_down, taps_across;       /* of a filter */
    Index down, across;                 /* rows and columns of outputs that a patch has */
    Index group, band, columns;         /* images, rows of patches in each image, patches in a row */
    Index bands, blocks;                /* bands in an image, and blocks in all images, see PatchBlock */
    Index filters_at_a_time;            /* that are transformed: all, unless there is but one block */
    Index u_stride, v_stride, m_stride; /* distances from one of the 36 elements to the next */
} Pass;

/* Lay out a pass. The elements are a little further apart than they are long: distances of a power of two
   would put all of them into the same places of the cache. */
static Pass pass_between(const Geometry *g, Planes from, Planes to, Index bytes, Index lanes)
{
    Pass pass = {.from = from,
        .to = to,
        .images = g->images,
        .channels = divide_up(from.channels, lanes) * lanes,
        .filters = divide_up(to.channels, lanes) * lanes,
        .taps_down = g->window_height,
        .taps_across = g->window_width,
        .down = PATCH + 1 - g->window_height,
        .across = PATCH + 1 - g->window_width};
    pass.columns = divide_up(to.width, pass.across);
    Index rows = divide_up(to.height, pass.down),
          bytes_of_patch = ELEMENTS * (pass.channels + pass.filters) * bytes;
    Index most = larger(LEAST_PATCHES, WINOGRAD_BYTES / bytes_of_patch);
    pass.band = rows_at_a_time(rows, pass.columns, most);
    pass.group = smaller(g->images, larger(1, most / (rows * pass.columns)));
    pass.bands = divide_up(rows, pass.band);
    pass.blocks = divide_up(g->images, pass.group) * pass.bands;
    Index patches = pass.group * pass.band * pass.columns;
    /* What one block alone needs is used at once, while it is in the cache */
    Index vectors = 2 * WINOGRAD_BYTES / (ELEMENTS * pass.channels * lanes * bytes);
    pass.filters_at_a_time =
        pass.blocks > 1 ? pass.filters : smaller(pass.filters, larger(MAX_VECTORS, vectors) * lanes);
    pass.u_stride = pass.channels * pass.filters_at_a_time + lanes;
    pass.v_stride = patches * pass.channels + lanes;
    pass.m_stride = patches * pass.filters + lanes;
    return pass;
}

/* The forward pass. */
static Pass pass_forward(const Geometry *g, Index bytes, Index lanes)
{
    Planes x = {g->channels, g->height, g->width, -g->pad_down, -g->pad_across};
    Planes out = {g->filters, g->rows, g->columns, 0, 0};
    return pass_between(g, x, out, bytes, lanes);
}

/* The pass from dout to dx, with rotated filters. */
static Pass pass_backward(const Geometry *g, Index bytes, Index lanes)
{
    Planes dout = {g->filters, g->rows, g->columns, g->pad_down + 1 - g->window_height,
        g->pad_across + 1 - g->window_width};
    Planes dx = {g->channels, g->height, g->width, 0, 0};
    return pass_between(g, dout, dx, bytes, lanes);
}

static Index size_of_image(const Planes *planes) { return planes->channels * planes->height * planes->width; }
static Index most_patches(const Pass *pass) { return pass->group * pass->band * pass->columns; }

/* The pixels that a band's patches see, and the outputs that they have: channels or filters come last. */
static Index pixels_across(const Pass *pass) { return pass->columns * pass->across + pass->taps_across - 1; }
static Index pixels_of_band(const Pass *pass)
{
    return (pass->band * pass->down + pass->taps_down - 1) * pixels_across(pass) * pass->channels;
}
static Index outputs_across(const Pass *pass) { return pass->columns * pass->across; }
static Index outputs_of_band(const Pass *pass)
{
    return pass->band * pass->down * outputs_across(pass) * pass->filters;
}

/* Columns of an image: `left` to `right` of the `count` that begin at first_column lie within it. */
static void columns_inside(const Planes *planes, Index count, Index *left, Index *right)
{
    *left = smaller(count, larger(0, -planes->first_column));
    *right = larger(*left, smaller(count, planes->width - planes->first_column));
}

/* The patches of a group of whole images, or of a band of one image. */
typedef struct {
    Index image, images; /* the first image, and their number */
    Index top, height;   /* the first row of outputs, and their number */
    Index rows, patches; /* rows of patches, and patches, in each image */
} PatchBlock;

static PatchBlock patch_block(const Pass *pass, Index k)
{
    PatchBlock block = {
        .image = k / pass->bands * pass->group, .top = k % pass->bands * pass->band * pass->down};
    block.images = smaller(pass->group, pass->images - block.image);
    block.height = smaller(pass->band * pass->down, pass->to.height - block.top);
    block.rows = divide_up(block.height, pass->down);
    block.patches = block.rows * pass->columns;
    return block;
}

static int winograd_is_possible(const Geometry *g)
{
    Index least = smaller(g->window_height, g->window_width),
          most = larger(g->window_height, g->window_width);
    return g->stride_down == 1 && g->stride_across == 1 && least >= 2 && most < PATCH;
}

/* Return whether it takes less time than a direct convolution. It is compared by its multiplications. Each
   element of a patch, and of a filter, costs as much as some more, which were measured; those of filters are
   shared by a minibatch, of some 16 images. Their number itself may not count: out must not depend on how
   threads divide it. */
static int winograd_pays(const Geometry *g)
{
    const double patch_element = 16, filter_element = 40.0 / 16;
    double patches = (double)divide_up(g->rows, PATCH + 1 - g->window_height) *
        divide_up(g->columns, PATCH + 1 - g->window_width);
    double products = (double)g->channels * g->filters;
    double direct = (double)g->rows * g->columns * g->window_height * g->window_width * products;
    double moves = patches * patch_element * (g->channels + g->filters) + filter_element * products;
    return ELEMENTS * (patches * products + moves) < direct;
}
