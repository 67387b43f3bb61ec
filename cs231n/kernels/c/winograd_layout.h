/* Where Winograd's patches are in memory, see winograd.h. No numbers are touched here. */

/* How many patches are at hand at a time, and how far apart things are. Transforms are a little further apart
   than what they take: distances of a power of two would put all 16 into the same places of the cache. */
typedef struct {
    Index group, band, columns;        /* images, rows of patches of each, patches in a row */
    Index bands, parts;                /* of one image, and of all, see Part */
    Index padded_row, padded, plane;   /* sizes of the padded rows, and of one plane spread from them */
    Index row, u_next, v_next, m_next; /* of transforms: from one channel or filter, one place to the next */
} Patches;

static Patches patches_of(const Geometry *g, Index bytes, Index lanes)
{
    Patches t = {.columns = divide_up(g->columns, 2)};
    Index rows = divide_up(g->rows, 2), bytes_of_patch = 16 * (g->channels + g->filters) * bytes;
    Index most = larger(2 * lanes, WINOGRAD_BYTES / bytes_of_patch); /* two vectors at least */
    t.band = rows_at_a_time(rows, t.columns, most);
    t.group = smaller(g->images, larger(1, most / (rows * t.columns)));
    t.bands = divide_up(rows, t.band), t.parts = divide_up(g->images, t.group) * t.bands;
    t.padded_row = 2 * t.columns + 2, t.padded = (2 * t.band + 2) * t.padded_row;
    t.plane = (t.band + 1) * t.columns + lanes;
    t.row = divide_up(t.group * t.band * t.columns, lanes) * lanes + lanes;
    return t;
}

/* Some of the patches: of whole images, or rows of one. */
typedef struct {
    Index image, images, top, height, rows; /* the first image; outputs from row `top` on; rows of patches */
    Index patches;                          /* of one image */
} Part;

static Part part_of(const Geometry *g, const Patches *t, Index k)
{
    Part part = {.image = k / t->bands * t->group, .top = k % t->bands * t->band * 2};
    part.images = smaller(t->group, g->images - part.image);
    part.height = smaller(2 * t->band, g->rows - part.top);
    part.rows = divide_up(part.height, 2);
    part.patches = part.rows * t->columns;
    return part;
}

/* How far apart filters, their channels and their taps are in w. */
typedef struct {
    Index filter, channel, tap;
} Filters;
