import sys; sys.path.insert(0,"/tmp/w")
from actlab import tables, figures
def test_a(plant):
    study=plant(); conf=.95
    f=figures.plot_test_accuracy(tables.over_seeds(study.test,["activation","network"],"test_accuracy",conf), conf)
    f.set_layout_engine("none")
    r=f._get_renderer()
    for ax in f.axes:
        for c in [ax,*ax.get_children()]:
            b=c.get_tightbbox(r)
            if b is not None and (b.width>600 or b.height>400): print(c, b)
        print(ax.get_xlim(), ax.get_ylim(), ax.get_tightbbox(r))
    assert 0
