import sys; sys.path.insert(0,"/tmp/w")
from draw import draw
def test_a(plant): draw(plant(), "/tmp/w/out/a")
def test_b(plant): draw(plant(["sigmoid","tanh","relu","leaky_relu","elu","selu","gelu","silu"], {"none":(), "mlp":(128,64), "deep":(64,)*8, "vdeep": (32,)*16}, seeds=range(10)), "/tmp/w/out/b")
def test_c(plant):
    def ch(p):
        if "gradients" in p:
            g=p["gradients"]; g.loc[(g.activation=="<script>$x$") & (g.layer!="output"),"value"]=0.0
        elif p["layers"].activation[0]=="tanh":
            p["history"].loc[p["history"].epoch>=2,["loss","val_loss"]]=float("nan")
            p["test"]["test_loss"]=float("nan")
    draw(plant(["<script>$x$","tanh"], {"one":(20,)}, seeds=[7], epochs=3, changed=ch), "/tmp/w/out/c")
def test_d(plant): draw(plant(["relu"], {"mlp":(128,64)}, seeds=[7,8], epochs=1), "/tmp/w/out/d")
