/* Where the data of Winograd's convolution lie in memory, see winograd.h. */

/* The patches that are computed together, and the distances between their data. The transforms are a little
   further apart than they are long: distances of a power of two would put all 16 into the same places of the
   cache. */
typedef struct {
    Index group, band, columns;         /* images, rows of patches in each image, patches in a row */
    Index bands, blocks;                /* bands in an image, and blocks in all images, see PatchBlock */
    Index padded_row, padded;           /* sizes of a padded row, and of all of them */
    Index plane;                        /* size of a plane made from the padded rows */
    Index row;                          /* distance in v and m from one channel or filter to the next */
    Index u_stride, v_stride, m_stride; /* distances from one of the 16 elements to the next */
} PatchLayout;

static PatchLayout layout_of_patches(const Geometry *g, Index bytes, Index lanes)
{
    PatchLayout layout = {.columns = divide_up(g->columns, 2)};
    Index rows = divide_up(g->rows, 2), bytes_of_patch = 16 * (g->channels + g->filters) * bytes;
    Index most = larger(2 * lanes, WINOGRAD_BYTES / bytes_of_patch); /* patches; at least two vectors */
    layout.band = rows_at_a_time(rows, layout.columns, most);
    layout.group = smaller(g->images, larger(1, most / (rows * layout.columns)));
    layout.bands = divide_up(rows, layout.band);
    layout.blocks = divide_up(g->images, layout.group) * layout.bands;
    layout.padded_row = 2 * layout.columns + 2;
    layout.padded = (2 * layout.band + 2) * layout.padded_row;
    layout.plane = (layout.band + 1) * layout.columns + lanes;
    layout.row = divide_up(layout.group * layout.band * layout.columns, lanes) * lanes + lanes;
    return layout;
}

/* The patches of a group of whole images, or of a band of one image. */
typedef struct {
    Index image, images; /* the first image, and their number */
    Index top, height;   /* the first row of output, and their number */
    Index rows, patches; /* rows of patches, and patches, in each image */
} PatchBlock;

static PatchBlock patch_block(const Geometry *g, const PatchLayout *layout, Index k)
{
    PatchBlock block = {
        .image = k / layout->bands * layout->group, .top = k % layout->bands * layout->band * 2};
    block.images = smaller(layout->group, g->images - block.image);
    block.height = smaller(2 * layout->band, g->rows - block.top);
    block.rows = divide_up(block.height, 2);
    block.patches = block.rows * layout->columns;
    return block;
}

/* The distances in w from one filter, channel and tap to the next. */
typedef struct {
    Index filter, channel, tap;
} FilterStrides;
