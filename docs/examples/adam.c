/* Adam in C99 behind refopt's protocol (docs/protocol.md), with libc alone:
 *   cc -O2 -o adam adam.c -lm
 *   python -c 'import refopt; print(refopt.verify.compare(["./adam"], "adam"))'
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One leaf: its name as the message spells it, its point, and Adam's two averages. */
typedef struct {
    char *name;
    size_t n;
    double *x, *m, *v;
} Leaf;

typedef struct {
    double lr, beta1, beta2, eps, weight_decay;
} Hyper;

static Leaf *leaves;
static size_t n_leaves;
static Hyper hyper;

static void *need(void *p) {
    if (p == NULL) {
        fprintf(stderr, "adam: out of memory\n");
        exit(1);
    }
    return p;
}

/* ---- a message: one line of JSON, known to be well formed ---- */

static const char *space(const char *p) {
    while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r') p++;
    return p;
}

static const char *after_string(const char *p) {
    for (p++; *p && *p != '"'; p++)
        if (*p == '\\' && p[1]) p++;
    return *p ? p + 1 : p;
}

/* The end of the value that begins at p. */
static const char *after(const char *p) {
    int depth = 0;
    for (p = space(p); *p;) {
        if (*p == '"') {
            p = after_string(p);
        } else {
            if (*p == '{' || *p == '[') depth++;
            if (*p == '}' || *p == ']') depth--;
            p++;
        }
        if (depth == 0 && (p[-1] == '"' || p[-1] == '}' || p[-1] == ']' || strchr(",]} \n", *p))) return p;
    }
    return p;
}

/* The next member of an object: p stands behind '{' or a value. NULL at the end. */
static const char *member(const char *p, const char **name, size_t *length) {
    p = space(p);
    if (*p == ',' || *p == '{') p = space(p + 1);
    if (*p != '"') return NULL;
    *name = p + 1;
    p = after_string(p);
    *length = (size_t)(p - *name) - 1;
    p = space(p);
    return *p == ':' ? space(p + 1) : NULL;
}

static const char *find(const char *object, const char *wanted) {
    const char *name, *p = object;
    size_t length;
    while (p != NULL && (p = member(p, &name, &length)) != NULL) {
        if (length == strlen(wanted) && strncmp(name, wanted, length) == 0) return p;
        p = after(p);
    }
    return NULL;
}

/* A number, or "nan", "inf", "-inf" in quotes: strtod reads them all. */
static double number(const char *p) {
    p = space(p);
    return strtod(*p == '"' ? p + 1 : p, NULL);
}

/* Read a list of numbers; returns how many, and stores at most `room` of them. */
static size_t list(const char *p, double *out, size_t room) {
    size_t n = 0;
    for (p = space(space(p) + 1); *p && *p != ']'; n++) {
        if (n < room) out[n] = number(p);
        p = space(after(p));
        if (*p == ',') p = space(p + 1);
    }
    return n;
}

/* ---- answers ---- */

static void print_number(double v) {
    /* 17 significant digits: every double comes back as it was. */
    if (isnan(v)) printf("\"nan\"");
    else if (isinf(v)) printf(v > 0 ? "\"inf\"" : "\"-inf\"");
    else printf("%.17g", v);
}

static void print_leaves(size_t part) {
    printf("{");
    for (size_t k = 0; k < n_leaves; k++) {
        const double *values = part == 0 ? leaves[k].x : part == 1 ? leaves[k].m : leaves[k].v;
        printf("%s\"%s\":[", k ? "," : "", leaves[k].name);
        for (size_t i = 0; i < leaves[k].n; i++) {
            if (i) printf(",");
            print_number(values[i]);
        }
        printf("]");
    }
    printf("}");
}

static void refuse(const char *why) { printf("{\"ok\":false,\"error\":\"%s\"}\n", why); }

/* ---- what is asked ---- */

static void describe(void) {
    printf("{\"ok\":true,\"name\":\"adam.c\",\"schedule\":true,"
           "\"takes\":[\"lr\",\"beta1\",\"beta2\",\"eps\",\"weight_decay\"],"
           "\"known\":{\"lr\":0.001,\"beta1\":0.9,\"beta2\":0.999,\"eps\":1e-8,\"weight_decay\":0}}\n");
}

static void set(const char *given, const char *name, double *value) {
    const char *p = given ? find(given, name) : NULL;
    if (p != NULL) *value = number(p);
}

static void start(const char *line) {
    const char *dtype = find(line, "dtype"), *x = find(line, "x"), *given = find(line, "hyper");
    if (dtype == NULL || strncmp(dtype, "\"float64\"", 9) != 0) {
        refuse("this Adam computes in float64");
        return;
    }
    hyper = (Hyper){.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.0};
    set(given, "lr", &hyper.lr);
    set(given, "beta1", &hyper.beta1);
    set(given, "beta2", &hyper.beta2);
    set(given, "eps", &hyper.eps);
    set(given, "weight_decay", &hyper.weight_decay);
    const char *name, *p = x;
    size_t length;
    while (p != NULL && (p = member(p, &name, &length)) != NULL) {
        leaves = need(realloc(leaves, (n_leaves + 1) * sizeof *leaves));
        Leaf *leaf = &leaves[n_leaves++];
        leaf->name = need(calloc(length + 1, 1));
        memcpy(leaf->name, name, length);
        leaf->n = list(p, NULL, 0);
        leaf->x = need(calloc(leaf->n + 1, sizeof(double)));
        leaf->m = need(calloc(leaf->n + 1, sizeof(double)));
        leaf->v = need(calloc(leaf->n + 1, sizeof(double)));
        list(p, leaf->x, leaf->n);
        p = after(p);
    }
    printf("{\"ok\":true}\n");
}

static void adam(Leaf *leaf, const double *g, double t, double rate) {
    const double c1 = 1 - pow(hyper.beta1, t), c2 = 1 - pow(hyper.beta2, t);
    for (size_t i = 0; i < leaf->n; i++) {
        leaf->m[i] = hyper.beta1 * leaf->m[i] + (1 - hyper.beta1) * g[i];
        leaf->v[i] = hyper.beta2 * leaf->v[i] + (1 - hyper.beta2) * g[i] * g[i];
        /* Decoupled decay, as refopt's adam has it where it is asked for. */
        leaf->x[i] -= rate * hyper.weight_decay * leaf->x[i];
        leaf->x[i] -= rate * (leaf->m[i] / c1) / (sqrt(leaf->v[i] / c2) + hyper.eps);
    }
}

static void step(const char *line) {
    const char *t = find(line, "t"), *rate = find(line, "lr_multiplier"), *g = find(line, "g");
    for (size_t k = 0; k < n_leaves; k++) {
        const char *own = g ? find(g, leaves[k].name) : NULL;
        double *values = need(calloc(leaves[k].n + 1, sizeof(double)));
        if (t == NULL || rate == NULL || own == NULL || list(own, values, leaves[k].n) != leaves[k].n) {
            free(values);
            refuse("wanted t, lr_multiplier and a gradient for every leaf");
            return;
        }
        adam(&leaves[k], values, number(t), hyper.lr * number(rate));
        free(values);
    }
    printf("{\"ok\":true,\"x\":");
    print_leaves(0);
    printf(",\"state\":{\"m\":");
    print_leaves(1);
    printf(",\"v\":");
    print_leaves(2);
    printf("}}\n");
}

/* The next line without its end, in memory that is reused; NULL at the end of the input. */
static char *next_line(void) {
    static char *line;
    static size_t room;
    size_t n = 0;
    for (int c = getchar(); c != '\n'; c = getchar()) {
        if (c == EOF) return NULL;
        if (n + 2 > room) line = need(realloc(line, room = 2 * room + 256));
        line[n++] = (char)c;
    }
    if (n + 1 > room) line = need(realloc(line, room = n + 256));
    line[n] = '\0';
    return line;
}

int main(void) {
    char *line;
    while ((line = next_line()) != NULL) {
        const char *what = find(line, "do");
        if (what == NULL) refuse("wanted do");
        else if (strncmp(what, "\"describe\"", 10) == 0) describe();
        else if (strncmp(what, "\"start\"", 7) == 0) start(line);
        else if (strncmp(what, "\"step\"", 6) == 0) step(line);
        else if (strncmp(what, "\"stop\"", 6) == 0) break;
        else refuse("cannot do that");
        fflush(stdout);
    }
    return 0;
}
